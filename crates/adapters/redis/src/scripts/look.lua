return answer(0)
