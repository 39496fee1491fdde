--* subject: counter
--* name: counter

-- A counter that outlives its runs: it is kept in etcd. Two runs at the same time may count the same number;
-- where that matters, let the database count (see modules/postgres.lua).
local etcd = require("etcd")

function OnMessage(subject, payload)
  local found, err = etcd.get("counter", false)
  if err then error(err) end
  local count = found and tonumber(found[1]:getValue()) or 0
  count = count + 1
  err = etcd.put("counter", tostring(count))
  if err then error(err) end
  return tostring(count)
end
