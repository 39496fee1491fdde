-- What modules that are written in Lua make objects with: userdata, as in the Go server, whose fields no
-- script sees. Gives `class` and `text`.
local host = ...
local newproxy, metatable, expected = host.newproxy, host.metatable, host.expected
local setmetatable, type, tostring, error, format = setmetatable, type, host.text, error, string.format

-- Gives a function that makes an object of fields, one that gives an object's fields (or raises, in the
-- name of a method), and the metatable.
local function class(name, methods)
  local template = newproxy(true)
  local meta, all = metatable(template), setmetatable({}, {__mode = "k"})
  meta.__index = methods
  local function new(fields)
    local object = newproxy(template)
    all[object] = fields
    return object
  end
  local function of(object, method)
    local fields = all[object]
    if not fields then error(format("bad argument #1 to %s (%s expected)", method, name), 3) end
    return fields
  end
  return new, of, meta
end

-- A string argument; a number is converted.
local function text(value, number, name)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(value) end
  return expected(number, name, "string", value)
end

return class, text
