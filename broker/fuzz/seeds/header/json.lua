--* subject: funcs.sum
--* name: sum

-- Reads JSON and answers JSON. A decode that fails gives nil and the reason.
--   curl -X POST -d '{"numbers":[1,2,39]}' http://127.0.0.1:7643/funcs.sum
--   nats request funcs.sum '{"numbers":[1,2,39]}'

local json = require("json")

function OnMessage(subject, payload)
  local request, problem = json.decode(payload)
  if type(request) ~= "table" or type(request.numbers) ~= "table" then
    return json.encode({ error = problem or "write {\"numbers\":[1,2,3]}" })
  end
  local sum = 0
  for _, number in ipairs(request.numbers) do
    sum = sum + (tonumber(number) or 0)
  end
  return json.encode({ sum = sum, count = #request.numbers })
end
