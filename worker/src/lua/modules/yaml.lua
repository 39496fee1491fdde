-- Decoders and encoders of `yaml`: they call readers and writers, which may be any object with the methods.
local host = ...
local step, another = host.step, host.another
local concat, type, error, pcall, select = table.concat, type, error, pcall, select
host.step, host.another = nil, nil

local function method(object, name)
  local fine, found = pcall(function() return object[name] end)
  return fine and type(found) == "function" and found
end

local function all(reader)
  local parts, read = {}, method(reader, "read")
  while true do
    local part, problem = read(reader, 4096)
    if part == nil or part == "" then return concat(parts), problem end
    parts[#parts + 1] = part
  end
end

local decoder, encoder = {}, {}
_G["yaml.Decoder"], _G["yaml.Encoder"] = { __index = decoder }, { __index = encoder }
local states = setmetatable({}, { __mode = "k" })

local function state(object, name)
  return states[object] or error("bad argument #1 to " .. name .. " (userdata expected, got " .. type(object) .. ")", 3)
end

function host.new_decoder(reader)
  if not method(reader, "read") then error("bad argument #1 to new_decoder (expected reader)", 2) end
  local object = setmetatable({}, _G["yaml.Decoder"])
  states[object] = { reader = reader, offset = 0, lines = 0 }
  return object
end

function decoder.decode(self)
  local s = state(self, "decode")
  if not s.text then
    local text, problem = all(s.reader)
    if problem and problem ~= "EOF" then return nil, "yaml: input error: " .. problem end
    s.text = text
  end
  local value, problem
  value, problem, s.offset, s.lines = step(s.text, s.offset, s.lines, s.strict)
  if problem then return nil, problem end
  return value
end

function decoder.set_strict(self, strict)
  local s = state(self, "set_strict")
  if type(strict) ~= "boolean" then
    error("bad argument #2 to set_strict (boolean expected, got " .. type(strict) .. ")", 2)
  end
  s.strict = strict
end

function host.new_encoder(writer)
  if not method(writer, "write") then error("bad argument #1 to new_encoder (expected writer)", 2) end
  local object = setmetatable({}, _G["yaml.Encoder"])
  states[object] = { writer = writer, further = false }
  return object
end

function encoder.encode(self, ...)
  local s = state(self, "encode")
  if select("#", ...) == 0 then error("bad argument #2 to encode (value expected)", 2) end
  local text, problem = another((...), s.further)
  if not text then return problem end
  s.further = true
  local done, failed = method(s.writer, "write")(s.writer, text)
  if done == nil and failed then return failed end
end

return host
