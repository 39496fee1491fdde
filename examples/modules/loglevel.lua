--* subject: example.loglevel
--* name: loglevel

-- A logger for each level, and a level below which nothing is written.
--   curl -d 'DEBUG' http://127.0.0.1:7643/example.loglevel

local loglevel = require("loglevel")

function OnMessage(subject, payload)
  loglevel.set_level(payload)
  loglevel.DEBUG:print("details of ", subject)
  loglevel.ERROR:println("something", "failed")
  return loglevel.get_level()
end
