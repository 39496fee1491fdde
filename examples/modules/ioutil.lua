--* subject: example.ioutil
--* name: ioutil

-- Whole files, and copies from anything with read(self, n) to anything with write(self, text).
--   curl -d 'some text' http://127.0.0.1:7643/example.ioutil

local ioutil = require("ioutil")
local strings = require("strings")

function OnMessage(subject, payload)
  local problem = ioutil.write_file("in.txt", payload)
  if problem then return problem end
  local shout = {
    pieces = {},
    write = function(self, text) self.pieces[#self.pieces + 1] = text:upper() end,
  }
  local file = io.open("in.txt")
  ioutil.copyn(shout, file, 4)
  ioutil.copy(shout, strings.new_reader("!"))
  return table.concat(shout.pieces) .. " of " .. ioutil.read_file("in.txt")
end
