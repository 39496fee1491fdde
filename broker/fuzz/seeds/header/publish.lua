--* subject: funcs.publish
--* name: publish

-- Sends a message on to another subject. The broker does it, so it can refuse: subjects that start with
-- `$` or `_INBOX.` are not for scripts, and a message that has come through eight scripts is a loop.
-- Watch with `nats subscribe events.shouted`, then:
--   curl -X POST -d 'good morning' http://127.0.0.1:7643/funcs.publish
--   nats request funcs.publish 'good morning'

local nats = require("nats")

function OnMessage(subject, payload)
  local done, problem = nats.publish("events.shouted", payload:upper())
  if not done then
    return "not sent: " .. tostring(problem)
  end
  return "sent"
end
