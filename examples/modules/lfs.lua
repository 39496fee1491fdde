--* subject: example.lfs
--* name: lfs

-- What is in the scratch folder, which is the run's own and gone with it.
--   curl -d 'reports' http://127.0.0.1:7643/example.lfs

local lfs = require("lfs")

function OnMessage(subject, payload)
  assert(lfs.mkdir(payload))
  assert(lfs.chdir(payload))
  io.open("one.txt", "w"):write("12345")
  local found = {}
  for name in lfs.dir(".") do
    found[#found + 1] = name .. "=" .. lfs.attributes(name, "size")
  end
  return lfs.currentdir() .. " " .. table.concat(found, " ")
end
