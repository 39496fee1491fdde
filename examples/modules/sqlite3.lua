--* subject: modules.sqlite3
--* name: sqlite3

-- Sorts and adds up lines of `name amount` with SQL, in memory. A path in a granted folder
-- (`--allow files:/srv/data`) would be a file that stays: `db:open("/srv/data/sums.db", {mode = "rwc"})`.
local sqlite3 = require("sqlite3")
local json = require("json")

function OnMessage(subject, payload)
  local db = sqlite3.new()
  local ok, err = db:open(":memory:", {mode = "memory"})
  if not ok then return err end
  db:query("CREATE TABLE sales (name TEXT, amount REAL)")
  for name, amount in payload:gmatch("(%S+) (%S+)") do
    local _, err = db:query("INSERT INTO sales VALUES (?, ?)", name, tonumber(amount))
    if err then return err end
  end
  local rows, err = db:query("SELECT name, sum(amount) AS sum FROM sales GROUP BY name ORDER BY sum DESC")
  db:close()
  return err or json.encode(rows)
end
