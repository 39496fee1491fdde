--* subject: modules.mysql
--* name: mysql

-- A table in MySQL or MariaDB, by the name that the configuration gives the database ([database.shop]). The
-- tenant `default` may also write `user:password@tcp(host:3306)/database` here.
local mysql = require("mysql")
local json = require("json")

function OnMessage(subject, payload)
  local db = mysql.new()
  local ok, err = db:connect("shop")
  if not ok then return err end
  for _, query in ipairs {
    {"CREATE TABLE IF NOT EXISTS notes (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT)"},
    {"INSERT INTO notes (note) VALUES (?)", payload},
  } do
    local _, err = db:query(unpack(query))
    if err then return err end
  end
  local rows, err = db:query("SELECT note FROM notes ORDER BY id DESC LIMIT ?", 3)
  db:close()
  return err or json.encode(rows)
end
