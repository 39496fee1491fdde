--* subject: example.hello
--* name: hello

-- The Go server's sample plugin.
--   curl -d '' http://127.0.0.1:7643/example.hello

local hello = require("hello")

function OnMessage()
  return hello.print()
end
