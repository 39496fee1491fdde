-- The iterator of `lfs`.
local lfs, base = ...
local list, newproxy = lfs.list, base.newproxy
lfs.list = nil

function lfs.dir(path)
  local names, at = list(path), 0
  return function()
    at = at + 1
    return names[at]
  end, newproxy()
end

return lfs
