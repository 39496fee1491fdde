--* subject: funcs.fail
--* name: fail
--* timeout: 1s

-- What failures look like. Each costs this one call; the next is served as if nothing had happened.
--   curl -i -X POST -d error  http://127.0.0.1:7643/funcs.fail    (500, with file and line)
--   curl -i -X POST -d loop   http://127.0.0.1:7643/funcs.fail    (504 after a second)
--   curl -i -X POST -d memory http://127.0.0.1:7643/funcs.fail    (500, memory)
--   curl -i -X POST -d escape http://127.0.0.1:7643/funcs.fail    (there is nothing to reach)

function OnMessage(subject, payload)
  if payload == "error" then
    error("as asked")
  elseif payload == "loop" then
    while true do end
  elseif payload == "memory" then
    local hoard = {}
    while true do hoard[#hoard + 1] = ("x"):rep(2 ^ 20) .. #hoard end
  elseif payload == "escape" then
    local file, problem = io.open("/etc/passwd")
    return "passwd: " .. tostring(file or problem) .. ", shell: " .. tostring(os.execute("id"))
  end
  return "try error, loop, memory or escape"
end
