--* subject: example.strings
--* name: strings

-- Go's functions on strings, and readers and builders that `ioutil` and `yaml` take.
--   curl -d ' ann, bob ' http://127.0.0.1:7643/example.strings

local strings = require("strings")

function OnMessage(subject, payload)
  local names = strings.new_builder()
  for _, name in ipairs(strings.split(payload, ",")) do
    names:write("[", strings.trim_space(name), "]")
  end
  return names:string()
end
