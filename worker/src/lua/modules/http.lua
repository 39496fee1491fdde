-- `http`: options to requests, results to responses.
local host = ...
local fetch, duration, base64 = host.fetch, host.duration, host.base64
local type, tostring, pairs, next, error, unpack = type, tostring, pairs, next, error, unpack
local match, gsub, gmatch, find, upper, lower = string.match, string.gsub, string.gmatch, string.find, string.upper, string.lower
local floor, ceil, sort, concat, setmetatable = math.floor, math.ceil, table.sort, table.concat, setmetatable

-- As many requests as go out in one host call.
local BATCH = 64

local response, data = {}, setmetatable({}, {__mode = "k"})

local function canonical(name)
  return (gsub(gsub(name, "^%l", upper), "%-%l", upper))
end

local fields = {}
function fields.status_code(it) return it.status end
function fields.body(it) return it.body end
function fields.body_size(it) return #it.body end
function fields.url(it) return it.url end
function fields.headers(it)
  local headers, list = {}, it.fields
  for i = 1, #list, 2 do
    local name = canonical(list[i])
    if headers[name] == nil then headers[name] = list[i + 1] end
  end
  return headers
end
function fields.cookies(it)
  local cookies, list = {}, it.fields
  for i = 1, #list, 2 do
    local name, value = match(list[i] == "set-cookie" and list[i + 1] or "", "^%s*([^=;]+)=([^;]*)")
    if name then
      value = gsub(gsub(value, "^%s+", ""), "%s+$", "")
      cookies[gsub(name, "%s+$", "")] = match(value, '^"(.*)"$') or value
    end
  end
  return cookies
end

function response.__index(it, key)
  local read = fields[key]
  if read then return read(data[it]) end
end
function response.__newindex(_, key)
  error("attempt to index a non-table object(userdata) with key '" .. tostring(key) .. "'", 2)
end

local function new(result)
  local it = setmetatable({}, response)
  data[it] = result
  return it
end

-- A cookie's value as Go writes it: bytes that it may not have are dropped, blanks and commas need quotes.
local function cookie(name, value)
  value = gsub(tostring(value), '[^ !#-:<-Z%[%]%^_`a-~]', "")
  if find(value, "[ ,]") then value = '"' .. value .. '"' end
  return gsub(tostring(name), "[\r\n]", "-") .. "=" .. value
end

local function cookies_of(list)
  local all = {}
  for name, value in pairs(list) do all[#all + 1] = cookie(name, value) end
  sort(all)
  return concat(all, "; ")
end

local function nanoseconds(timeout)
  local kind = type(timeout)
  if kind == "nil" then return nil end
  if kind == "string" then return duration(timeout) end
  if kind ~= "number" then return 0 end
  return (timeout < 0 and ceil(timeout) or floor(timeout)) * 1e9
end

local function option(options, key, kind)
  local value = options[key]
  if type(value) == kind then return value end
end

-- Appends a request's five arguments to `list`; or gives an error.
local function prepare(list, method, url, options)
  local kind = type(url)
  if kind == "number" then url = tostring(url) elseif kind ~= "string" then url = "" end
  kind = type(method)
  method = (kind == "string" or kind == "number") and upper(tostring(method)) or ""
  if method == "" then method = "GET" end
  if type(options) ~= "table" then options = {} end
  local names, values = {}, {}
  local function set(name, value)
    local key = lower(name)
    names[key], values[key] = name, value
  end
  local query = option(options, "query", "string")
  if query then url = match(url, "^[^?#]*") .. (query ~= "" and "?" .. query or "") end
  local body = option(options, "body", "string")
  if not body then
    body = option(options, "form", "string")
    if body then set("Content-Type", "application/x-www-form-urlencoded") end
  end
  local cookies = option(options, "cookies", "table")
  if cookies and next(cookies) ~= nil then set("Cookie", cookies_of(cookies)) end
  local timeout, problem = nanoseconds(options.timeout)
  if problem then return problem end
  local auth = option(options, "auth", "table")
  if auth then
    if not auth.user or not auth.pass then return "auth table must contain no nil user and pass fields" end
    set("Authorization", "Basic " .. base64(tostring(auth.user) .. ":" .. tostring(auth.pass)))
  end
  for name, value in pairs(option(options, "headers", "table") or {}) do set(tostring(name), tostring(value)) end
  local sorted, flat = {}, {}
  for key in pairs(names) do sorted[#sorted + 1] = key end
  sort(sorted)
  for i = 1, #sorted do
    flat[2 * i - 1], flat[2 * i] = names[sorted[i]], values[sorted[i]]
  end
  local at = list.n
  list[at + 1], list[at + 2], list[at + 3], list[at + 4], list[at + 5] = method, url, flat, body, timeout
  list.n = at + 5
end

local function request(method, url, options)
  local list = {n = 0}
  local problem = prepare(list, method, url, options)
  if problem then return nil, problem end
  local result = fetch(unpack(list, 1, 5))
  if type(result) == "string" then return nil, result end
  return new(result)
end

local http = {response = response, request = request}
for _, name in ipairs {"get", "delete", "head", "patch", "post", "put"} do
  local method = upper(name)
  http[name] = function(url, options) return request(method, url, options) end
end

function http.request_batch(batch)
  if type(batch) ~= "table" then
    error("runtime error: invalid memory address or nil pointer dereference", 0)
  end
  local outcomes, list, places = {}, {n = 0}, {}
  local function flush()
    if list.n == 0 then return end
    local results = {fetch(unpack(list, 1, list.n))}
    for i = 1, #places do outcomes[places[i]] = results[i] end
    list, places = {n = 0}, {}
  end
  for i = 1, #batch do
    local item = batch[i]
    local problem = "Request must be a table"
    if type(item) == "table" then problem = prepare(list, item[1], item[2], item[3]) end
    if problem then
      outcomes[i] = problem
    else
      places[#places + 1] = i
      if #places == BATCH then flush() end
    end
  end
  flush()
  local responses, errors = {}, {}
  for i = 1, #batch do
    local outcome = outcomes[i]
    if type(outcome) == "table" then
      responses[#responses + 1] = new(outcome)
    else
      errors[#errors + 1] = outcome
    end
  end
  if #errors > 0 then return responses, errors end
  return responses
end

return http
