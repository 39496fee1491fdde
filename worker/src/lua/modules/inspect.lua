-- `inspect`: a value as text that people read, with the rules and options of inspect.lua 3.1.0.
local _, base = ...
local type, next, rawget, tostring, getmetatable, setmetatable = type, next, rawget, base.text, getmetatable, setmetatable
local floor, huge, concat, sort, rep = math.floor, math.huge, table.concat, table.sort, string.rep
local find, gsub, byte, format = string.find, string.gsub, string.byte, string.format

local inspect = {_VERSION = "inspect.lua 3.1.0"}
inspect.KEY = setmetatable({}, {__tostring = function() return "inspect.KEY" end})
inspect.METATABLE = setmetatable({}, {__tostring = function() return "inspect.METATABLE" end})

local short = {["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\v"] = "\\v"}

local function quoted(text)
  text = gsub(text, "\\", "\\\\")
  text = gsub(text, "([%z\1-\31])(%d?)", function(control, digit)
    local escape = short[control]
    if not escape then escape = format(digit == "" and "\\%d" or "\\%03d", byte(control)) end
    return escape .. digit
  end)
  if find(text, '"', 1, true) and not find(text, "'", 1, true) then return "'" .. text .. "'" end
  return '"' .. gsub(text, '"', '\\"') .. '"'
end

local ranks = {number = 1, boolean = 2, string = 3, table = 4, ["function"] = 5, userdata = 6, thread = 7}

local function before(a, b)
  local kind, other = type(a), type(b)
  if kind == other and (kind == "string" or kind == "number") then return a < b end
  return (ranks[kind] or 8) < (ranks[other] or 8)
end

-- The length of the part from 1 up without a hole, and all other keys in order.
local function keys(t)
  local length, others = 0, {}
  while rawget(t, length + 1) ~= nil do length = length + 1 end
  for key in next, t do
    if type(key) ~= "number" or key < 1 or key > length or floor(key) ~= key then others[#others + 1] = key end
  end
  sort(others, before)
  return length, others
end

-- How often each table is met, counting metatables.
local function count(value, times)
  if type(value) ~= "table" then return times end
  local before = times[value]
  times[value] = (before or 0) + 1
  if before then return times end
  for key, item in next, value do
    count(key, times)
    count(item, times)
  end
  return count(getmetatable(value), times)
end

local function extended(path, ...)
  local longer, size = {}, #path
  for i = 1, size do longer[i] = path[i] end
  for i, key in next, {...} do longer[size + i] = key end
  return longer
end

local function processed(process, item, path, seen)
  if item == nil then return nil end
  if seen[item] then return seen[item] end
  local result = process(item, path)
  if type(result) ~= "table" then return result end
  local copy = {}
  seen[item] = copy
  for key, value in next, result do
    local new = processed(process, key, extended(path, key, inspect.KEY), seen)
    if new ~= nil then copy[new] = processed(process, value, extended(path, new), seen) end
  end
  local meta = processed(process, getmetatable(result), extended(path, inspect.METATABLE), seen)
  return setmetatable(copy, type(meta) == "table" and meta or nil)
end

function inspect.inspect(root, options)
  options = options or {}
  local depth, newline, indent = options.depth or huge, options.newline or "\n", options.indent or "  "
  if options.process then root = processed(options.process, root, {}, {}) end
  local times, ids, last, out, level, put = count(root, {}), {}, {}, {}, 0, nil

  local function id(value)
    local kind = type(value)
    if not ids[value] then
      last[kind] = (last[kind] or 0) + 1
      ids[value] = last[kind]
    end
    return tostring(ids[value])
  end
  local function puts(text) out[#out + 1] = text end
  local function line() puts(newline .. rep(indent, level)) end

  local function entry(first, key)
    if not first then puts(",") end
    line()
    if type(key) == "string" and find(key, "^[_%a][_%a%d]*$") then return puts(key .. " = ") end
    puts("[")
    put(key)
    puts("] = ")
  end

  local function body(t)
    local length, others = keys(t)
    local meta = getmetatable(t)
    local tall = #others > 0 or type(meta) == "table"
    puts("{")
    level = level + 1
    for i = 1, length do
      puts(i > 1 and ", " or " ")
      put(rawget(t, i))
    end
    for i = 1, #others do
      entry(length == 0 and i == 1, others[i])
      put(t[others[i]])
    end
    if type(meta) == "table" then
      if length + #others > 0 then puts(",") end
      line()
      puts("<metatable> = ")
      put(meta)
    end
    level = level - 1
    if tall then line() elseif length > 0 then puts(" ") end
    puts("}")
  end

  function put(value)
    local kind = type(value)
    if kind == "string" then
      puts(quoted(value))
    elseif kind == "number" or kind == "boolean" or kind == "nil" then
      puts(tostring(value))
    elseif kind ~= "table" then
      puts("<" .. kind .. " " .. id(value) .. ">")
    elseif value == inspect.KEY or value == inspect.METATABLE then
      puts(tostring(value))
    elseif ids[value] then
      puts("<table " .. id(value) .. ">")
    elseif level >= depth then
      puts("{...}")
    else
      if times[value] > 1 then puts("<" .. id(value) .. ">") end
      body(value)
    end
  end

  put(root)
  return concat(out)
end

return setmetatable(inspect, {__call = function(_, ...) return inspect.inspect(...) end})
