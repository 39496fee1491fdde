--* subject: example.yaml
--* name: yaml

-- Reads YAML documents, counts their members, and answers them as one list of YAML.
--   nats request example.yaml 'name: Ann
--   tags: [a, b]'

local yaml = require("yaml")

-- Anything with a method `read` can be decoded from.
local function reader(text)
  return { read = function(self, size)
    local piece = text:sub(1, size)
    text = text:sub(size + 1)
    if piece ~= "" then return piece end
  end }
end

function OnMessage(subject, payload)
  local decoder = yaml.new_decoder(reader(payload))
  decoder:set_strict(true)
  local documents = {}
  while true do
    local document, problem = decoder:decode()
    if problem == "EOF" then break end
    if problem then return yaml.encode({ error = problem }) end
    documents[#documents + 1] = document
  end
  return yaml.encode({ count = #documents, documents = documents })
end
