#!lua flags=allow-oom
-- Writes down what was done and what was refused, in capped streams.
--@include context
-- KEYS[1] key prefix   ARGV[1] settings
--     [2] MessagePack array, at most 500, of {book, [field, value]...}   [3] how many entries a book keeps, about
-- Returns nothing
-- O(entries)
for _, entry in ipairs(cmsgpack.unpack(ARGV[2])) do
  redis.call('XADD', P .. 'audit:' .. entry[1], 'MAXLEN', '~', ARGV[3], '*', unpack(entry, 2))
end
