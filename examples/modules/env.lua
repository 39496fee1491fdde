--* subject: modules.env
--* name: env
-- Values of the environment, as far as they are granted: start the server with
-- `GREETING=Hello msgscript-broker --allow env:GREETING …`. What is not granted is nil.

function OnMessage(subject, payload)
  local greeting = os.getenv("GREETING") or "Good day"
  return greeting .. ", " .. payload .. "! My PATH is " .. tostring(os.getenv("PATH"))
end
