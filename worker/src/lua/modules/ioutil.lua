-- The copies of `ioutil`: from anything with `read(self, n)` to anything with `write(self, text)`.
local ioutil, base = ...
local type, error, min, floor, pcall = type, error, math.min, math.floor, pcall
local expected = base.expected

-- How much is moved at once, in bytes.
local SLICE = 32768

local function method(object, name)
  local fine, found = pcall(function() return object[name] end)
  return fine and type(found) == "function" and found
end

-- Moves up to `limit` bytes; gives how many, and the error if one ended it.
local function move(writer, reader, limit)
  local write, read, moved = method(writer, "write"), method(reader, "read"), 0
  while moved < limit do
    local piece, problem = read(reader, min(SLICE, limit - moved))
    if piece == nil or piece == "" then
      return moved, problem ~= "EOF" and problem or nil
    end
    local done, failed = write(writer, piece)
    if not done and failed then return moved, failed end
    moved = moved + #piece
  end
  return moved
end

local function check(writer, reader, name)
  if not method(writer, "write") then error("bad argument #1 to " .. name .. " (expected writer)", 3) end
  if not method(reader, "read") then error("bad argument #2 to " .. name .. " (expected reader)", 3) end
end

function ioutil.copy(writer, reader)
  check(writer, reader, "copy")
  local _, problem = move(writer, reader, math.huge)
  if problem then return problem end
end

function ioutil.copyn(writer, reader, n)
  check(writer, reader, "copyn")
  if type(n) ~= "number" then expected(3, "copyn", "number", n) end
  n = floor(n)
  local moved, problem = move(writer, reader, n)
  if problem or moved < n then return problem or "EOF" end
end

return ioutil
