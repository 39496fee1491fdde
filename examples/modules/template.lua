--* subject: example.template
--* name: template

-- Renders a mustache template with the JSON of the payload. Partials are files of the scratch folder.
--   nats request example.template '{"name":"Ann","items":[{"what":"tea","count":2},{"what":"<cake>"}]}'

local template = require("template")
local json = require("json")

local mustache = assert(template.choose("mustache"))

function OnMessage(subject, payload)
  local context, problem = json.decode(payload)
  if type(context) ~= "table" then return "write an object: " .. tostring(problem) end

  local file = assert(io.open("line.mustache", "w"))
  file:write("- {{what}}{{#count}} ({{count}}){{/count}}\n")
  file:close()

  local text, problem = mustache:render([[
Dear {{name}}{{^name}}customer{{/name}},
{{#items}}
  {{> line}}
{{/items}}
]], context)
  return text or problem
end
