--* subject: funcs.hello
--* name: hello

-- The smallest function: a message in, a string out.
--   curl -X POST -d John http://127.0.0.1:7643/funcs.hello
--   nats request funcs.hello John

function OnMessage(subject, payload)
  return "Hello, " .. payload .. "!"
end
