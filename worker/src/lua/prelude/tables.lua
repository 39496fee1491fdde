-- `table`: forgiving where the Go server's was.
local host = ...
local table, type, select, pcall, error, find = table, type, select, pcall, error, string.find
local native_insert, native_concat, native_sort, chunk = table.insert, table.concat, table.sort, host.chunk

function table.getn(t) return #t end

function table.insert(t, ...)
  if select("#", ...) > 2 then
    local at, value = ...
    return native_insert(t, at, value)
  end
  return native_insert(t, ...)
end

function table.concat(t, separator, first, last)
  if type(t) ~= "table" or first == nil and last == nil then return native_concat(t, separator) end
  local size = #t
  if type(first) == "number" and first < 1 then first = 1 end
  if last == nil or type(last) == "number" and last > size then last = size end
  return native_concat(t, separator, first, last)
end

-- A comparator may contradict itself: a merge sort does not mind. Without one only NaN can.
local merge
function table.sort(t, before)
  if type(t) ~= "table" then return native_sort(t, before) end
  if before == nil then
    local fine, problem = pcall(native_sort, t)
    if fine then return end
    if not find(problem, "invalid order function", 1, true) then error(problem, 2) end
  elseif type(before) ~= "function" then
    return native_sort(t, before)
  end
  merge = merge or chunk("sort")(host)
  merge(t, before or function(a, b) return a < b end)
end
