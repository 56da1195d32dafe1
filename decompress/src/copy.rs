//! The two steps of xz and zstd: copying literals, and repeating earlier output. Most copies are a
//! few bytes long, so both functions copy words and may write up to seven bytes more than
//! requested, never beyond the output. The next step overwrites them.

use crate::error::Damaged;

const WORD: usize = 8;

fn load(bytes: &[u8], at: usize) -> Option<[u8; WORD]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn store(bytes: &mut [u8], at: usize, word: [u8; WORD]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = word;
    Some(())
}

/// Copies `length` bytes of `data`, beginning at `from`, to `at` in `output`.
pub(crate) fn append(output: &mut [u8], at: usize, data: &[u8], from: usize, length: usize) -> Result<(), Damaged> {
    let wanted = data.get(from..).and_then(|rest| rest.get(..length)).ok_or(Damaged)?;
    let room = output.get_mut(at..).filter(|room| length <= room.len()).ok_or(Damaged)?;
    let mut done = 0;
    while done < length {
        let Some(word) = load(data, from + done) else { break };
        if store(room, done, word).is_none() {
            break;
        }
        done += WORD;
    }
    for (place, byte) in room[..length].iter_mut().zip(wanted).skip(done) {
        *place = *byte;
    }
    Ok(())
}

/// Copies `length` bytes to `at` from `distance` bytes before it. The two may overlap; then the
/// bytes between them repeat.
pub(crate) fn repeat(output: &mut [u8], at: usize, distance: usize, length: usize) -> Result<(), Damaged> {
    let from = at.checked_sub(distance).filter(|_| distance != 0).ok_or(Damaged)?;
    let area = output.get_mut(from..).ok_or(Damaged)?;
    let end = distance.checked_add(length).filter(|&end| end <= area.len()).ok_or(Damaged)?;
    let mut to = distance;
    if distance >= WORD {
        while to < end {
            let Some(word) = load(area, to - distance) else { break };
            if store(area, to, word).is_none() {
                break;
            }
            to += WORD;
        }
    }
    while to < end {
        area[to] = area[to - distance];
        to += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn copies_are_those_of_single_bytes() {
        let source: Vec<u8> = (0..64).collect();
        for &size in if cfg!(miri) { &[0, 1, 9][..] } else { &[0, 1, 7, 8, 9, 20, 40] } {
            for at in 0..=size {
                for length in 0..=size + 2 {
                    let mut output: Vec<u8> = (100..100 + size as u8).collect();
                    let fits = length <= size - at;
                    assert_eq!(append(&mut output, at, &source, 64 - length, length).is_ok(), fits);
                    if fits {
                        assert_eq!(output[at..at + length], source[64 - length..]);
                    }
                    for distance in 0..=at + 1 {
                        let before: Vec<u8> = (100..100 + size as u8).collect();
                        let mut output = before.clone();
                        let legal = fits && distance != 0 && distance <= at;
                        assert_eq!(repeat(&mut output, at, distance, length).is_ok(), legal);
                        if legal {
                            assert_eq!(output[..at], before[..at]);
                            assert!((at..at + length).all(|place| output[place] == output[place - distance]));
                        } else {
                            assert_eq!(output, before);
                        }
                    }
                }
            }
        }
    }
}
