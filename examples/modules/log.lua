--* subject: example.log
--* name: log

-- Loggers: to the server's log (STDOUT, STDERR) or to a file of the scratch folder.
--   curl -d 'disk is full' http://127.0.0.1:7643/example.log

local log = require("log")

function OnMessage(subject, payload)
  log.new("STDERR", "[WARN] "):print(payload) -- the prefix says the level
  local file = log.new("app.log", "app: ", { date = true, utc = true })
  file:printf("%s (%d bytes)", payload, #payload)
  file:close()
  return (io.open("app.log"):read("*a"):gsub("%d+/%d+/%d+", "DATE"))
end
