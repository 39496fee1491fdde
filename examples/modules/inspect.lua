--* subject: example.inspect
--* name: inspect

-- Any value as text that people read.
--   curl -d '{"user":{"name":"Ann","tags":["a","b"]}}' http://127.0.0.1:7643/example.inspect

local inspect = require("inspect")
local json = require("json")

function OnMessage(subject, payload)
  return inspect(json.decode(payload))
end
