"""What the tests share. Nothing here goes through the code under test to make what it is compared with."""
