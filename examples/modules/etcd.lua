--* subject: modules.etcd
--* name: etcd

-- Settings in etcd: writes one, lists all, removes it again.
local etcd = require("etcd")

function OnMessage(subject, payload)
  local err = etcd.put("settings/greeting", payload ~= "" and payload or "hello")
  if err then return "not written: " .. err end
  local pairs, err = etcd.get("settings/", true)
  if err then return "not read: " .. err end
  local lines = {}
  for _, pair in ipairs(pairs) do lines[#lines + 1] = pair:getKey() .. " = " .. pair:getValue() end
  err = etcd.delete("settings/greeting")
  if err then return "not removed: " .. err end
  return table.concat(lines, "\n")
end
