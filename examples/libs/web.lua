--* name: web

-- A small web framework with the API of the Go server's `web` library:
--
--   --* require: web
--   local router = Router.new([layout])
--   router:get("/users/<id>", function(req, payload) return template, data, code, options end)
--
-- A handler returns a mustache template and its data (rendered, then put into the layout's {{& body }}),
-- the status (200) and options: headers, header and footer (for the layout), redirect (a URL), no_template
-- (no layout around the body). Without a template the data is the answer, as JSON. Requests have
-- req:path([name]), req:query([name]), req.form and req.headers. Values are as they were sent:
-- Request.decode(text) undoes percent signs and pluses.
local template = require("template")
local mustache = template.choose("mustache")
local json = require("json")
local strings = require("strings")

Router = {}
Router.__index = Router

Request = {}
Request.__index = Request

local LAYOUT = [[
<html>
  <head>
    {{& header }}
  </head>
  <body>
    {{& body }}
    {{& footer }}
  </body>
</html>
]]

-- The pieces of a text between delimiters, without an empty one at its beginning or end.
function string.split(text, delimiter)
  local pieces, from = {}, 1
  local first, last = text:find(delimiter, from, true)
  while first do
    if first > 1 then pieces[#pieces + 1] = text:sub(from, first - 1) end
    from = last + 1
    first, last = text:find(delimiter, from, true)
  end
  if from <= #text then pieces[#pieces + 1] = text:sub(from) end
  return pieces
end

-- key=value pairs joined by "&".
local function pairs_of(text, keep_empty)
  local found = {}
  for field in (text or ""):gmatch("[^&]+") do
    local key, value = field:match("^([^=]*)=(.*)$")
    if key and (value ~= "" or keep_empty) then found[key] = value end
  end
  return found
end

local function parts_of(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do parts[#parts + 1] = part end
  return parts
end

function Request.new(queries, paths, form)
  return setmetatable({ queries = queries or {}, paths = paths or {}, form = form or {} }, Request)
end

function Request:query(name)
  if name == nil then return self.queries end
  return self.queries[name]
end

function Request:path(name)
  if name == nil then return self.paths end
  return self.paths[name]
end

function Request.decode(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local METHODS = { "GET", "POST", "PUT", "PATCH", "HEAD", "OPTIONS", "DELETE" }

for _, method in ipairs(METHODS) do
  Router[method:lower()] = function(self, path, handler)
    local routes = self.routes[method]
    if not routes[path] then self.order[method][#self.order[method] + 1] = path end
    routes[path] = handler
  end
end

-- A router. It answers all methods: their functions are global, as the server wants them.
function Router.new(layout)
  if layout == nil or layout == "" then layout = LAYOUT end
  local router = setmetatable({ layout = layout, routes = {}, order = {} }, Router)
  for _, method in ipairs(METHODS) do
    router.routes[method], router.order[method] = {}, {}
    _G[method] = function(url, body, headers) return router:handle(method, url, body, headers) end
  end
  return router
end

-- What a pattern's <names> stand for in a path, or nil; a path may go on behind the pattern unless `whole`.
local function match(pattern, path, whole)
  local wanted, given = parts_of(pattern), parts_of(path)
  if #wanted > #given or whole and #wanted < #given then return nil end
  local found
  for at, part in ipairs(wanted) do
    local name = part:match("^<(.*)>$")
    if name then
      found = found or {}
      found[name] = given[at]
    elseif part ~= given[at] then
      return nil
    end
  end
  return found
end

-- The handler of a path, and the values of its names: an exact route first, then patterns of the path's
-- length, then those that it goes on behind; in the order in which they were added.
function Router:find(method, path)
  local routes = self.routes[method]
  if routes[path] then return routes[path], {} end
  for _, whole in ipairs({ true, false }) do
    for _, pattern in ipairs(self.order[method]) do
      local found = match(pattern, path, whole)
      if found then return routes[pattern], found end
    end
  end
  if method == "HEAD" then return self:find("GET", path) end
end

function Router:handle(method, url, payload, headers)
  local path, query = url:match("^([^?]*)%??(.*)$")
  if path == "" then path = "/" end
  local handler, names = self:find(method, path)
  if not handler then
    return ("URL %s doesn't exist"):format(url), 404, { ["Content-Type"] = "text/plain" }
  end
  local request = Request.new(pairs_of(query), names, pairs_of(payload, true))
  request.method, request.headers = method, headers or {}
  return self:respond(handler(request, payload))
end

local function rendered(text, data)
  local body, problem = mustache:render(text, data)
  if not body then print("web: template: " .. problem) end
  return body
end

function Router:respond(body, data, code, options)
  options = options or {}
  local headers = {}
  for name, value in pairs(options.headers or {}) do headers[name] = value end
  if options.redirect then
    headers.Location = options.redirect
    return "", 302, headers
  end
  if body == nil or body == "" then
    headers["Content-Type"] = headers["Content-Type"] or "application/json"
    local text, problem = json.encode(data == nil and {} or data)
    if not text then error("web: " .. problem, 0) end
    return text, code or 200, headers
  end
  body = rendered(body, data or {})
  if not options.no_template then
    body = rendered(self.layout, { header = options.header, body = body, footer = options.footer })
  end
  return body, code or 200, headers
end
