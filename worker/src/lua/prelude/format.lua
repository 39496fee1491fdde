-- Formats that the native function would refuse: other values, other verbs, too few arguments. As in
-- Go, what is wrong shows in the text.
local host = ...
local native, text, id = host.format, host.text, host.id
local type, tonumber, tostring = type, tonumber, tostring
local find, sub, gsub, rep, concat, min = string.find, string.sub, string.gsub, string.rep, table.concat, math.min

local integers, floats = "[dioxXuc]", "[feEgGaA]"

local function wrong(verb, value)
  return "%!" .. verb .. "(" .. type(value) .. "=" .. text(value) .. ")"
end

local function pad(piece, flags, width)
  local missing = width - #piece
  if missing <= 0 then return piece end
  if find(flags, "-", 1, true) then return piece .. rep(" ", missing) end
  if find(flags, "0", 1, true) and find(piece, "^[-+ ]?%d") then
    local _, sign = find(piece, "^[-+ ]?")
    return sub(piece, 1, sign) .. rep("0", missing) .. sub(piece, sign + 1)
  end
  return rep(" ", missing) .. piece
end

-- A number where the verb wants one, or the text that stands for it.
local function number(verb, value)
  local kind = type(value)
  local n = (kind == "number" or kind == "string") and tonumber(value)
  if n then return n end
  if kind ~= "string" then
    if kind == "nil" and verb == "d" then return nil, "&{}" end
    return nil, wrong(verb, value)
  end
  if find(verb, "[xX]") then
    return nil, (gsub(value, ".", function(c) return native("%02" .. verb, c:byte()) end))
  end
  if find(verb, integers) then return 0 end
  return nil, wrong(verb, value)
end

local function one(flags, width, precision, verb, value)
  local piece
  if find(verb, integers) or find(verb, floats) then
    local n, instead = number(verb, value)
    if instead then return pad(instead, "", width) end
    local exact = precision and "." .. min(precision, 99) or ""
    piece = native("%" .. gsub(flags, "[-0]", "") .. exact .. verb, n)
  elseif verb == "q" then
    piece = native("%q", text(value))
  elseif verb == "p" then
    piece = native("0x%08x", id(value))
  elseif verb == "T" then
    piece = type(value)
  elseif verb == "s" or verb == "v" or verb == "t" and type(value) == "boolean" then
    piece = tostring(text(value))
    if precision then piece = sub(piece, 1, precision) end
  else
    return wrong(verb, value)
  end
  return pad(piece, flags, width)
end

return function(f, count, ...)
  local values, used, out, at = {...}, 0, {}, 1
  while true do
    local start, stop, flags, width, point, digits, verb = find(f, "%%([-+ #0]*)(%d*)(%.?)(%d*)(.?)", at)
    if not start then break end
    out[#out + 1] = sub(f, at, start - 1)
    at = stop + 1
    width, digits = tonumber(width) or 0, tonumber(digits) or 0
    if verb == "" then
      out[#out + 1] = "%!(NOVERB)"
    elseif verb == "%" then
      out[#out + 1] = "%"
    elseif used >= count then
      out[#out + 1] = "%!" .. verb .. "(MISSING)"
    else
      used = used + 1
      local precision = point ~= "" and digits or nil
      out[#out + 1] = width > 1000000 and "%!(BADWIDTH)" or one(flags, width, precision, verb, values[used])
    end
  end
  out[#out + 1] = sub(f, at)
  return concat(out)
end
