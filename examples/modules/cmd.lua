--* subject: modules.cmd
--* name: cmd
-- Commands of the host, in a sandbox of their own: start the server with `--allow cmd`. They have no network,
-- see the system's programs and write to a folder of their own only.
local cmd = require("cmd")

function OnMessage(subject, payload)
  local result, problem = cmd.exec("printf '%s' hello | tr a-z A-Z; exit 3", 5)
  if not result then return "not run: " .. problem end

  local words = io.popen("wc -w", "w")
  if words then
    words:write(payload)
    words:close() -- what it prints goes to the log
  end
  return result.stdout .. " " .. result.status
end
