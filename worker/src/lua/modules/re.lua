-- The loops of the `re` module: the host does one match at a time.
local host = ...
local step, check, replace = host.step, host.check, host.gsub
local type, tostring, sub, concat = type, tostring, string.sub, table.concat
host.step, host.check = nil, nil

-- With a function or a table; a string is the host's work.
function host.gsub(s, pattern, repl, n)
  local kind = type(repl)
  if kind ~= "table" and kind ~= "function" then return replace(s, pattern, repl, n) end
  check(s, pattern)
  s = tostring(s)
  local out, size, copied, count = {}, 0, 1, 0
  local at, last = 0, -1
  local function one(next, first, final, ...)
    if not next then return false end
    at, last, count = next, final, count + 1
    local value
    if kind == "table" then value = repl[(...)] else value = repl(...) end
    if value then
      local text = type(value)
      out[size + 1] = sub(s, copied, first - 1)
      out[size + 2] = (text == "string" or text == "number") and value or ""
      size, copied = size + 2, final + 1
    end
    return true
  end
  while count ~= n and one(step(s, pattern, at, last)) do end
  out[size + 1] = sub(s, copied)
  return concat(out), count
end

function host.gmatch(s, pattern)
  check(s, pattern)
  local at, last = 0, -1
  local function one(next, _, final, ...)
    if next then
      at, last = next, final
      return ...
    end
  end
  return function() return one(step(s, pattern, at, last)) end
end

return host
