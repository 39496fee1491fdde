-- `sqlite3`: databases in memory, and files of granted folders by the broker.
local functions, host = ...
host.kinds[22] = {__index = {
  open = functions.open, query = functions.query, close = functions.close, set_timeout = functions.set_timeout,
}}
return {new = functions.new, _VERSION = "0.0.0", _DEBUG = false}
