--* subject: example.filepath
--* name: filepath

-- Paths as text, and the files of the scratch folder that match a pattern.
--   curl -d '/srv/../tmp/report.tar.gz' http://127.0.0.1:7643/example.filepath

local filepath = require("filepath")

function OnMessage(subject, payload)
  io.open("a.txt", "w"):close()
  io.open("b.txt", "w"):close()
  local path = filepath.clean(payload)
  return table.concat({
    path,
    filepath.dir(path),
    filepath.basename(path),
    filepath.ext(path),
    table.concat(filepath.glob("*.txt"), "+"),
  }, " ")
end
