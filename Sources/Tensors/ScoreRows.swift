/// `y = x · weightᵀ` for a head of few outputs, in fp32: each product is summed in sixteen lanes in one fixed order, so that a
/// row's bits depend neither on its neighbours nor on the number of threads, nor on the kernels the machine has.
/// - Parameters:
///   - x: `[rows, d]`.
///   - weight: `[outputs, d]`.
///   - y: `[rows, outputs]`, rows side by side; overwritten.
public func scoreRows(_ x: Matrix, weight: Matrix, into y: Matrix, on compute: Compute) {
    precondition(x.columns == weight.columns && y.rows == x.rows && y.columns == weight.rows,
        "x [\(x.rows), \(x.columns)], weight [\(weight.rows), \(weight.columns)], y [\(y.rows), \(y.columns)]")
    compute.parallel(x.rows) { row in
        let input = UnsafePointer(x.pointer + row * x.stride)
        for k in 0..<weight.rows {
            y.pointer[row * y.stride + k] = dot(input, UnsafePointer(weight.pointer + k * weight.stride), count: x.columns)
        }
    }
}

/// Backward of `scoreRows`.
/// - Parameters:
///   - dy: `[rows, outputs]`.
///   - dx: `[rows, d]`; overwritten.
///   - dWeight: `[outputs, d]`; added to, row after row.
public func scoreRowsBackward(_ dy: Matrix, x: Matrix, weight: Matrix, into dx: Matrix, addingTo dWeight: Matrix, on compute: Compute) {
    precondition(dy.rows == x.rows && dy.columns == weight.rows && dx.rows == x.rows && dx.columns == x.columns && dWeight.rows == weight.rows,
        "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], weight [\(weight.rows), \(weight.columns)]")
    let d = x.columns
    compute.parallel(x.rows) { row in
        let out = dx.pointer + row * dx.stride
        for i in 0..<d { out[i] = 0 }
        for k in 0..<weight.rows { addScaled(dy.pointer[row * dy.stride + k], weight.pointer + k * weight.stride, to: out, count: d) }
    }
    compute.parallel(weight.rows) { k in
        let out = dWeight.pointer + k * dWeight.stride
        for row in 0..<x.rows { addScaled(dy.pointer[row * dy.stride + k], x.pointer + row * x.stride, to: out, count: d) }
    }
}

private func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
    var lanes = SIMD16<Float>(repeating: 0)
    var i = 0
    while i + 16 <= count {
        let left = UnsafeRawPointer(a + i).loadUnaligned(as: SIMD16<Float>.self)
        let right = UnsafeRawPointer(b + i).loadUnaligned(as: SIMD16<Float>.self)
        lanes += left * right
        i += 16
    }
    var sum = lanes.sum()
    while i < count {
        sum += a[i] * b[i]
        i += 1
    }
    return sum
}

/// y += a·x.
private func addScaled(_ a: Float, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
    for i in 0..<count { y[i] += a * x[i] }
}
