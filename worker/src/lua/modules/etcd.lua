-- `etcd`: the functions, and the class of what `get` gives, which is a global as in the Go server.
local functions, host = ...
EtcdKV = {new = functions.new, __index = {getKey = functions.getKey, getValue = functions.getValue}}
host.kinds[20] = EtcdKV
return {get = functions.get, put = functions.put, delete = functions.delete}
