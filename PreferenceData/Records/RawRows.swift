import Serialization

extension Records {
    /// The objects of a file as they are, for readers that look for fields of their own.
    /// - Throws: `RecordError.badRows` for lines that are no objects, and what reading the file throws.
    public static func objects(_ file: String) throws(RecordError) -> [(object: JSONObject, origin: RowOrigin)] {
        var scanner = try RecordScanner(RecordText(file))
        var rows: [(object: JSONObject, origin: RowOrigin)] = []
        var (bad, count) = ([BadRow](), 0)
        while let item = try scanner.next() {
            do throws(RowFault) {
                rows.append((try RowView(item.value.get(), columns: [:]).object, RowOrigin(file: file, line: item.line)))
            } catch {
                count += 1
                if bad.count < BadRow.named { bad.append(BadRow(file: file, line: item.line, reason: error.reason, remedy: error.remedy)) }
            }
        }
        if count > 0 { throw .badRows(bad, total: count) }
        guard !rows.isEmpty else { throw .emptyFile(file: file) }
        return rows
    }
}
