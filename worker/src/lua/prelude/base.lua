-- Globals: how values print, what is taken away.
local host = ...
local native_tostring, native_tonumber, native_running = tostring, tonumber, coroutine.running
local type, select, rawget, metatable = type, select, rawget, debug.getmetatable
local concat, format, huge = table.concat, string.format, math.huge
local id, log = host.id, host["base.print"]

-- Addresses would tell a script about the process, so it gets numbers instead.
local function text(value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" or kind == "nil" then
    return native_tostring(value)
  end
  local meta = metatable(value)
  if meta and rawget(meta, "__tostring") ~= nil then return native_tostring(value) end
  return format("%s: 0x%08x", kind, id(value))
end
host.text = text
tostring = text

function print(...)
  local count = select("#", ...)
  if count == 1 then return log((text((...)))) end
  local parts = {...}
  for i = 1, count do parts[i] = text(parts[i]) end
  return log(concat(parts, "\t", 1, count))
end

-- "nan" and "inf" are no numbers, nor is what does not fit.
function tonumber(value, base)
  if base ~= nil then return native_tonumber(value, base) end
  local number = native_tonumber(value)
  if number and type(value) == "string" and (number ~= number or number == huge or number == -huge) then
    return nil
  end
  return number
end

function coroutine.running()
  local current, main = native_running()
  if not main then return current end
  return nil
end

math.mod = math.fmod
_GOPHER_LUA_VERSION = "GopherLua 0.1"
host.newproxy, host.metatable = newproxy, metatable
newproxy, gcinfo, jit, ffi = nil, nil, nil, nil

-- A message of our own that is a value of the wrong type, with the caller's place.
local error = error
function host.expected(number, name, wanted, value)
  error(format("bad argument #%d to %s (%s expected, got %s)", number, name, wanted, type(value)), 3)
end

local chunk, setmetatable = host.chunk, setmetatable
channel = setmetatable({}, {__index = function(channel, key)
  setmetatable(channel, nil)
  chunk("channel")(host, channel)
  return channel[key]
end})
