--* subject: jobs.greeting
--* name: cron
--* schedule: 0 9-17 * * mon-fri
--* timezone: Europe/Berlin
--* missed: skip

-- Runs at each full hour of the working day: once, however many brokers there are. What it returns goes nowhere;
-- what it prints is in the log. Its next due times:
--   msgscriptcli check examples/cron.lua
-- It is a function like any other, so it can be called at any time, too:
--   curl -X POST http://127.0.0.1:7643/jobs.greeting

function OnMessage(subject, payload, headers)
  local due = headers and headers["Msgscript-Schedule"]
  print(due and "due at " .. due or "called by hand")
  return "good day"
end
