-- `mysql` and `postgres`: clients of SQL servers, by the broker.
local functions, host = ...
host.kinds[21] = {__index = {
  connect = functions.connect, query = functions.query, close = functions.close,
  set_timeout = functions.set_timeout, set_keepalive = functions.set_keepalive,
}}
return {new = functions.new, escape = functions.escape, _VERSION = "0.0.0", _DEBUG = false}
