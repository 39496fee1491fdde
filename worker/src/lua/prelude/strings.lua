-- `string`: letters beyond ASCII, formats that never raise, no results without bound.
local host = ...
local string, type, tonumber, select = string, type, tonumber, select
local native_format, native_rep, native_upper, native_lower = string.format, string.rep, string.upper, string.lower
local find, gsub, gmatch = string.find, string.gsub, string.gmatch
local unicode_upper, unicode_lower = host["string.upper"], host["string.lower"]
local memory_limit, no_memory, chunk = host["base.memory_limit"], host["base.no_memory"], host.chunk

string.dump = nil
string.gfind = gmatch
host.format = native_format

function string.upper(s)
  if type(s) == "string" and find(s, "[\128-\255]") then return unicode_upper(s) end
  return native_upper(s)
end

function string.lower(s)
  if type(s) == "string" and find(s, "[\128-\255]") then return unicode_lower(s) end
  return native_lower(s)
end

-- What cannot fit is refused before it is tried; a count past 2^31 would wrap.
function string.rep(s, n, separator)
  local count = tonumber(n)
  if count and count > 1 then
    local size = (type(s) == "string" and #s or 20) + (type(separator) == "string" and #separator or 0)
    if size > 0 and (count >= 2^31 or size * count > 1048576) and size * count > memory_limit() then
      return no_memory(size * count)
    end
    if count >= 2^31 then return "" end
  end
  return native_rep(s, n, separator)
end

-- The arguments that a format takes: s for one that prints, n for a number. False: not the native
-- function's business.
local function verbs(f)
  local list = ""
  for width, digits, verb in gmatch((gsub(f, "%%%%", "\1")), "%%[-+ #0]*(%d*)%.?(%d*)(.?)") do
    if #width > 2 or #digits > 2 then
      return false
    elseif verb == "s" or verb == "q" then
      list = list .. "s"
    elseif verb ~= "" and find("dioxXucfeEgGaA", verb, 1, true) then
      list = list .. "n"
    else
      return false
    end
  end
  return list
end

local known, size, slow = {}, 0, nil
local byte = string.byte

function string.format(f, ...)
  if type(f) ~= "string" then return native_format(f, ...) end
  local list = known[f]
  if list == nil then
    list = verbs(f)
    if size < 64 then
      size = size + 1
      known[f] = list
    end
  end
  local plain = list and select("#", ...) >= #list
  if plain then
    for i = 1, #list do
      local value = select(i, ...)
      local kind = type(value)
      if kind ~= "number" and (kind ~= "string" or byte(list, i) == 110 and not tonumber(value)) then
        plain = false
        break
      end
    end
  end
  if plain then return native_format(f, ...) end
  slow = slow or chunk("format")(host)
  return slow(f, select("#", ...), ...)
end
