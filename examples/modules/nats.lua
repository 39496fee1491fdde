--* subject: modules.nats
--* name: nats

-- Asks another script over NATS and waits for its reply, at most two seconds.
--   curl -d 'John' http://127.0.0.1:7643/modules.nats      (with examples/hello.lua in service)

local nats = require("nats")

function OnMessage(subject, payload)
  local reply, problem = nats.request("funcs.hello", payload, 2)
  if not reply then return "no reply: " .. problem end
  nats.publish("events.greeted", payload)
  return reply
end
