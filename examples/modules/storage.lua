--* subject: example.storage
--* name: storage

-- Values by key in a file, with a time to live. The file is in the scratch folder, so it lasts as long as the
-- run.
--   curl -d 'ann' http://127.0.0.1:7643/example.storage

local storage = require("storage")

function OnMessage(subject, payload)
  local store, problem = storage.open("sessions.json")
  if problem then return problem end
  store:set("user", { name = payload }, 60)
  local user, found = store:get("user")
  local _, missing = store:get("nobody")
  store:close()
  return user.name .. " " .. tostring(found) .. " " .. tostring(missing)
end
