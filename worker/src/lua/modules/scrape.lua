-- Results of `scrape`: tables that can also be called for an iterator, as the Go server's lists could.
local host = ...
local next, ipairs, pairs, setmetatable = next, ipairs, pairs, setmetatable

local list = { __call = function(self)
  local at = 0
  return function()
    at = at + 1
    if self[at] ~= nil then return at, self[at] end
  end
end }

local map = {
  __call = function(self) return next, self end,
  __len = function(self)
    local count = 0
    for _ in next, self do count = count + 1 end
    return count
  end,
}

local function dressed(found, problem)
  if not found then return nil, problem end
  for _, item in ipairs(found) do
    if type(item) == "table" then setmetatable(item, map) end
  end
  return setmetatable(found, list), nil
end

for name, find in pairs(host) do
  host[name] = function(...) return dressed(find(...)) end
end
return host
