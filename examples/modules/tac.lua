--* subject: example.tac
--* name: tac

-- The lines of a file, the last one first.
--   printf 'one\ntwo\nthree\n' | curl --data-binary @- http://127.0.0.1:7643/example.tac

local tac = require("tac")

function OnMessage(subject, payload)
  local file = io.open("lines.txt", "w")
  file:write(payload)
  file:close()
  local lines, scanner = {}, tac.open("lines.txt")
  for line in function() return scanner:line() end do
    lines[#lines + 1] = line
  end
  scanner:close()
  return table.concat(lines, " ")
end
