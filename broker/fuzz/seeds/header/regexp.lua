--* subject: funcs.redact
--* name: redact

-- Hides the user of every mail address. `re` knows RE2's syntax and matches in linear time, whatever the
-- pattern; Lua's own patterns (string.find, string.gsub) are there too.
--   curl -X POST -d 'ask ann@example.org or bob@example.com' http://127.0.0.1:7643/funcs.redact
--   nats request funcs.redact 'ask ann@example.org'

local re = require("re")

function OnMessage(subject, payload)
  local text, count = re.gsub(payload, "([A-Za-z0-9._-]+)@([A-Za-z0-9.-]+)", "***@$2")
  print("hid " .. count .. " addresses") -- into the log, with the invocation's id
  return text
end
