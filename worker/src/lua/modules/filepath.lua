-- `filepath.join` takes any values.
local filepath, base = ...
local join, tostring, select, unpack = filepath.join, base.text, select, unpack

function filepath.join(...)
  local parts, count = {...}, select("#", ...)
  for i = 1, count do parts[i] = tostring(parts[i]) end
  return join(unpack(parts, 1, count))
end

return filepath
