--* subject: greet.plugin
--* name: greet
-- Needs the plugin `greet`: see README.md in this folder.
local greet = require("greet")

function OnMessage(subject, payload)
  return greet.hello(payload)
end
