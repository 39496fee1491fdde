--* subject: example.runtime
--* name: runtime

-- Which system the server runs on, in Go's names.
--   curl -d '' http://127.0.0.1:7643/example.runtime

local runtime = require("runtime")

function OnMessage()
  return runtime.goos() .. "/" .. runtime.goarch()
end
