-- Readers and builders of `strings`.
local strings, base = ...
local class, text = base.chunk("objects")(base)
local type, error, tonumber, select, rawset = type, error, tonumber, select, rawset
local find, sub, gsub, concat = string.find, string.sub, string.gsub, table.concat

local reader, builder = {}, {}
local new_reader, reading, reader_meta = class("strings.Reader", reader)
local new_builder, building, builder_meta = class("strings.Builder", builder)
strings.Reader, strings.Builder = reader_meta, builder_meta
rawset(_G, "strings.Reader", reader_meta)
rawset(_G, "strings.Builder", builder_meta)

function strings.new_reader(s)
  return new_reader {text = text(s, 1, "new_reader"), at = 1}
end

-- The number that is next, behind white space.
local function number(s, at)
  local _, stop = find(s, "^%s*[-+]?%d*%.?%d*", at)
  local _, longer = find(s, "^[eE][-+]?%d+", stop + 1)
  stop = longer or stop
  local word = gsub(sub(s, at, stop), "^%s*%+?", "")
  if word == "" and stop == #s then return 0, stop end
  return tonumber(word) or error("expected number", 3), stop
end

function reader.read(self, format)
  local state = reading(self, "read")
  local s, at = state.text, state.at
  local done = at > #s
  if type(format) == "number" then
    if format < 1 then return "" end
    if done then return nil end
    state.at = at + format - format % 1
    return sub(s, at, state.at - 1)
  elseif format == "*a" then
    state.at = #s + 1
    return sub(s, at)
  elseif format == nil or format == "*l" then
    if done then return nil end
    local stop = find(s, "\n", at, true) or #s + 1
    state.at = stop + 1
    return (gsub(sub(s, at, stop - 1), "\r$", ""))
  elseif format == "*n" then
    local value, stop = number(s, at)
    state.at = stop + 1
    return value
  end
  error("unknown fmt string", 2)
end

function reader.close(self) reading(self, "close") end

function strings.new_builder() return new_builder {} end

function builder.write(self, ...)
  local state = building(self, "write")
  for i = 1, select("#", ...) do
    state[#state + 1] = text((select(i, ...)), i + 1, "write")
  end
end

-- What was written becomes one piece, so that asking often stays cheap.
function builder.string(self)
  local state = building(self, "string")
  if #state > 1 then
    local whole = concat(state)
    for i = #state, 2, -1 do state[i] = nil end
    state[1] = whole
  end
  return state[1] or ""
end

function builder.close(self) building(self, "close") end

return strings
