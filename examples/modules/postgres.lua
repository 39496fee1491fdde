--* subject: modules.postgres
--* name: postgres

-- A counter that counts right however many runs count at once, in PostgreSQL, by the name that the configuration
-- gives the database ([database.counts]). The tenant `default` may also write
-- `postgres://user:password@host:5432/database` or `host=… dbname=… user=…` here.
local postgres = require("postgres")

function OnMessage(subject, payload)
  local db = postgres.new()
  local ok, err = db:connect("counts")
  if not ok then return err end
  local _, err = db:query("CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, count BIGINT)")
  if err then return err end
  local rows, err = db:query([[
    INSERT INTO counts VALUES ($1, 1)
    ON CONFLICT (name) DO UPDATE SET count = counts.count + 1
    RETURNING count]], payload)
  db:close()
  return err or tostring(rows[1].count)
end
