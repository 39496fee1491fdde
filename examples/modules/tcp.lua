--* subject: modules.tcp
--* name: tcp

-- Speaks a line protocol over a plain connection, which the broker opens and closes with the run.
-- Payload: host and port of a Redis server, say 127.0.0.1:6379.

local tcp = require("tcp")

function OnMessage(subject, payload)
  local connection, problem = tcp.open(payload, 2)
  if not connection then return problem end
  connection.readTimeout = 2
  connection:write("PING\r\n")
  local answer = connection:read("*l")
  connection:close()
  return answer or "no answer"
end
