-- A stable merge sort: short runs by insertion, then runs merged in pairs.
local rawget, rawset, rawlen, min = rawget, rawset, rawlen, math.min
local RUN = 8

local function insertion(items, first, last, before)
  for i = first + 1, last do
    local item, at = items[i], i
    while at > first and before(item, items[at - 1]) do
      items[at] = items[at - 1]
      at = at - 1
    end
    items[at] = item
  end
end

local function merge(from, to, left, middle, last, before)
  local right, at = middle + 1, left
  while at <= last do
    if left > middle or right <= last and before(from[right], from[left]) then
      to[at] = from[right]
      right = right + 1
    else
      to[at] = from[left]
      left = left + 1
    end
    at = at + 1
  end
end

return function(t, before)
  local size, items, other = rawlen(t), {}, {}
  for i = 1, size do items[i] = rawget(t, i) end
  for first = 1, size, RUN do insertion(items, first, min(first + RUN - 1, size), before) end
  local width = RUN
  while width < size do
    for left = 1, size, 2 * width do
      local middle = min(left + width - 1, size)
      merge(items, other, left, middle, min(left + 2 * width - 1, size), before)
    end
    items, other, width = other, items, 2 * width
  end
  for i = 1, size do rawset(t, i, items[i]) end
end
