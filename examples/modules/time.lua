--* subject: example.time
--* name: time

-- The clock in any zone, with Go's layouts: a layout is how Mon Jan 2 15:04:05 -0700 MST 2006 would look.
--   curl -d '2009-02-14 00:31' http://127.0.0.1:7643/example.time

local time = require("time")

function OnMessage(subject, payload)
  local seconds, problem = time.parse(payload, "2006-01-02 15:04", "Europe/Berlin")
  if problem then return problem end
  time.sleep(0.01) -- the worker waits, and costs nothing meanwhile
  return time.format(seconds, "Monday, 2 January 2006 3:04pm MST", "America/New_York")
end
