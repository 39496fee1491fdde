--* subject: funcs.greet.*
--* name: greet
--* require: greeting

-- Answers on every subject `funcs.greet.LANGUAGE`, with the help of a library (libs/greeting.lua). The
-- folder a script lies in means nothing; its header does.
--   curl -X POST -d Ann http://127.0.0.1:7643/funcs.greet.fr
--   nats request funcs.greet.de Ann

function OnMessage(subject, payload)
  local language = subject:match("([^.]+)$")
  return greeting(language, payload)
end
